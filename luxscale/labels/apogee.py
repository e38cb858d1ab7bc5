"""allStar catalogues of APOGEE, of SDSS data releases 17 and 12.

Flags that disqualify are those that the survey's own pipeline grades as bad, not as a warning.
"""

from __future__ import annotations

from luxscale.labels.base import Catalog, Label

#: Elements of the labels taken unless told otherwise.
ELEMENTS = ("c", "n", "o", "mg", "al", "si", "ca", "mn", "ni")

_PARAMETERS = (
    "TEFF LOGG VMICRO M_H ALPHA_M C_M N_M STAR CHI2 COLORTE ROTATION SN SPEC_HOLE ATMOS_HOLE VSINI"
)
_DR17_ELEMENTS = "c ci n o na mg al si p s k ca ti tiii v cr mn co ni cu ce yb"
_DR12_ELEMENTS = "al ca c k mg mn na ni n o si s ti v"

_ASPCAP = {
    **{
        f"{name}_{grade}": bit + start
        for grade, start in (("WARN", 0), ("BAD", 16))
        for bit, name in enumerate(_PARAMETERS.split())
    },
    "NO_ASPCAP_RESULT": 31,
    "MISSING_APSTAR": 32,
    "NO_GRID": 33,
    "BAD_FRAC_LOWSNR": 34,
    "BAD_FRAC_BADPIX": 35,
    "FERRE_FAIL": 36,
    "PROBLEM_TARGET": 40,
    "MULTIPLE_SUSPECT": 41,
}

_STAR = {
    "BAD_PIXELS": 0,
    "COMMISSIONING": 1,
    "BRIGHT_NEIGHBOR": 2,
    "VERY_BRIGHT_NEIGHBOR": 3,
    "LOW_SNR": 4,
    "PERSIST_HIGH": 9,
    "PERSIST_MED": 10,
    "PERSIST_LOW": 11,
    "PERSIST_JUMP_POS": 12,
    "PERSIST_JUMP_NEG": 13,
    "SUSPECT_RV_COMBINATION": 16,
    "SUSPECT_BROAD_LINES": 17,
    "BAD_RV_COMBINATION": 18,
    "RV_REJECT": 19,
    "RV_SUSPECT": 20,
    "MULTIPLE_SUSPECT": 21,
    "RV_FAIL": 22,
}

_EXTRATARG = {"NOT_MAIN": 0, "COMMISSIONING": 1, "TELLURIC": 2, "APO1M": 3, "DUPLICATE": 4}

_PARAM = {
    "GRIDEDGE_BAD": 0,
    "CALRANGE_BAD": 1,
    "OTHER_BAD": 2,
    "FERRE_FAIL": 3,
    "PARAM_MISMATCH_BAD": 4,
    "FERRE_ERR_USED": 5,
    "TEFF_CUT": 6,
    "GRIDEDGE_WARN": 8,
    "CALRANGE_WARN": 9,
    "OTHER_WARN": 10,
    "FERRE_WARN": 11,
    "PARAM_MISMATCH_WARN": 12,
    "OPTICAL_WARN": 13,
    "ERR_WARN": 14,
    "FAINT_WARN": 15,
    "PARAM_FIXED": 16,
    "RV_WARN": 17,
}

_ROW_BITS = {"ASPCAPFLAG": _ASPCAP, "STARFLAG": _STAR, "EXTRATARG": _EXTRATARG}
_ROW_BAD = {
    "ASPCAPFLAG": ("STAR_BAD", "NO_ASPCAP_RESULT"),
    "STARFLAG": ("BAD_PIXELS", "VERY_BRIGHT_NEIGHBOR", "LOW_SNR"),
    "EXTRATARG": ("DUPLICATE",),
}
_EXTRA = {"ra": "RA", "dec": "DEC", "telescope": "TELESCOPE", "field": "FIELD"}


def _describe_dr17_labels() -> dict[str, Label]:
    labels = {
        "teff": Label(column="TEFF", units="K", err="TEFF_ERR"),
        "logg": Label(column="LOGG", units="dex(cm s-2)", err="LOGG_ERR"),
        "fe_h": Label(column="FE_H", units="dex", err="FE_H_ERR", flag="FE_H_FLAG"),
        "m_h": Label(column="M_H", units="dex", err="M_H_ERR"),
        "alpha_m": Label(column="ALPHA_M", units="dex", err="ALPHA_M_ERR"),
        "vmicro": Label(column="VMICRO", units="km s-1"),
        "vmacro": Label(column="VMACRO", units="km s-1"),
        "vsini": Label(column="VSINI", units="km s-1"),
    }
    for x in _DR17_ELEMENTS.split():
        column = f"{x.upper()}_FE"
        labels[f"{x}_fe"] = Label(
            column=column, units="dex", err=f"{column}_ERR", flag=f"{column}_FLAG"
        )
    return labels


def _describe_dr12_labels() -> dict[str, Label]:
    labels = {
        "teff": Label(column="TEFF", units="K", err="TEFF_ERR"),
        "logg": Label(column="LOGG", units="dex(cm s-2)", err="LOGG_ERR"),
        "fe_h": Label(column="FE_H", units="dex", err="FE_H_ERR", flag="FE_H_FLAG"),
        "m_h": Label(column="PARAM_M_H", units="dex", err="PARAM_M_H_ERR"),
        "alpha_m": Label(column="PARAM_ALPHA_M", units="dex", err="PARAM_ALPHA_M_ERR"),
    }
    parameters = ("teff", "logg", "log_vmicro", "m_h", "c_m", "n_m", "alpha_m")
    units = ("K", "dex(cm s-2)", "dex(km s-1)", "dex", "dex", "dex", "dex")
    for i, (name, unit) in enumerate(zip(parameters, units, strict=True)):
        labels.setdefault(
            name, Label(column="PARAM", units=unit, err="PARAM_COV", flag="PARAMFLAG", index=i)
        )
        labels[f"raw_{name}"] = Label(
            column="FPARAM", units=unit, err="FPARAM_COV", flag="PARAMFLAG", index=i
        )
    for x in _DR12_ELEMENTS.split():
        column = f"{x.upper()}_H"
        labels[f"{x}_h"] = Label(
            column=column, units="dex", err=f"{column}_ERR", flag=f"{column}_FLAG"
        )
    return labels


DR17 = Catalog(
    name="allstar-dr17",
    doc="APOGEE allStar of DR17: calibrated parameters, [X/Fe]",
    key="APOGEE_ID",
    snr="SNR",
    labels=_describe_dr17_labels(),
    usual=("teff", "logg", "fe_h", *(f"{x}_fe" for x in ELEMENTS)),
    row_bits=_ROW_BITS,
    row_bad=_ROW_BAD,
    value_bits=_PARAM,
    value_bad=("GRIDEDGE_BAD", "OTHER_BAD", "FERRE_FAIL", "TEFF_CUT"),
    extra=_EXTRA,
    signature=("APOGEE_ID", "ASPCAPFLAG", "TEFF", "FE_H", "MG_FE"),
)

DR12 = Catalog(
    name="allstar-dr12",
    doc="APOGEE allStar of DR12: calibrated parameters (raw_*: uncalibrated), [X/H]",
    key="APOGEE_ID",
    snr="SNR",
    labels=_describe_dr12_labels(),
    usual=("teff", "logg", "fe_h", *(f"{x}_h" for x in ELEMENTS)),
    row_bits=_ROW_BITS,
    row_bad=_ROW_BAD,
    value_bits=_PARAM,
    value_bad=("GRIDEDGE_BAD", "CALRANGE_BAD", "OTHER_BAD", "FERRE_FAIL", "PARAM_MISMATCH_BAD"),
    extra=_EXTRA,
    signature=("APOGEE_ID", "ASPCAPFLAG", "TEFF", "PARAM", "MG_H"),
    tried="real",
)

CATALOGS = (DR17, DR12)
