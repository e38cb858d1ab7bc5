"""astraAllStarASPCAP of SDSS-V: ASPCAP's results for stars that APOGEE observed."""

from __future__ import annotations

from luxscale.labels.apogee import ELEMENTS
from luxscale.labels.base import ANY, Catalog, Label

#: Bits of result_flags from 10 on; the lower ones by number.
_RESULT = {
    "V_MICRO_GRID_EDGE_BAD": 10,
    "V_SINI_GRID_EDGE_WARN": 11,
    "V_SINI_GRID_EDGE_BAD": 12,
    "M_H_ATM_GRID_EDGE_WARN": 13,
    "M_H_ATM_GRID_EDGE_BAD": 14,
    "ALPHA_M_GRID_EDGE_WARN": 15,
    "ALPHA_M_GRID_EDGE_BAD": 16,
    "C_M_ATM_GRID_EDGE_WARN": 17,
    "C_M_ATM_GRID_EDGE_BAD": 18,
    "N_M_ATM_GRID_EDGE_WARN": 19,
    "N_M_ATM_GRID_EDGE_BAD": 20,
    "SUSPICIOUS_PARAMETERS": 21,
    "HIGH_V_SINI": 22,
    "HIGH_V_MICRO": 23,
    "UNPHYSICAL_PARAMETERS": 24,
    "HIGH_RCHI2": 25,
    "LOW_SNR": 26,
    "HIGH_STD_V_RAD": 27,
}

_MEASURED = "fe al ca ce c_1 c co cr cu k mg mn na nd ni n o p si s ti ti_2 v"

_ABUNDANCE = {
    "CENSORED_HIGH_TEFF": 5,
    "CENSORED_LOW_TEFF_VMICRO": 6,
    "CENSORED_UNPHYSICAL": 7,
    "BAD_GRID_EDGE": 8,
    "WARN_GRID_EDGE": 9,
    "WARN_TEFF": 10,
    "WARN_M_H": 11,
}


def _describe_labels() -> dict[str, Label]:
    units = {"teff": "K", "logg": "dex(cm s-2)", "v_micro": "km s-1", "v_sini": "km s-1"}
    units |= dict.fromkeys(("m_h_atm", "alpha_m_atm", "c_m_atm", "n_m_atm"), "dex")
    labels = {}
    for name, unit in units.items():
        labels[name] = Label(column=name, units=unit, err=f"e_{name}")
    for element in _MEASURED.split():
        name = f"{element}_h"
        labels[name] = Label(column=name, units="dex", err=f"e_{name}", flag=f"{name}_flags")
    raw = {}
    for name, label in labels.items():
        raw[f"raw_{name}"] = Label(
            column=f"raw_{name}",
            units=label.units,
            err=f"raw_e_{name}",
            flag=label.flag,
        )
    return {**labels, **raw}


ASPCAP = Catalog(
    name="astra-allstar-aspcap",
    doc="SDSS-V astraAllStarASPCAP: calibrated parameters, [X/H] (raw_*: uncalibrated)",
    key="sdss_id",
    snr="snr",
    labels=_describe_labels(),
    usual=("teff", "logg", "fe_h", *(f"{x}_h" for x in ELEMENTS)),
    row_bits={"result_flags": _RESULT},
    row_bad={"flag_bad": (ANY,)},
    value_bits=_ABUNDANCE,
    value_bad=(
        "CENSORED_HIGH_TEFF",
        "CENSORED_LOW_TEFF_VMICRO",
        "CENSORED_UNPHYSICAL",
        "BAD_GRID_EDGE",
    ),
    extra={
        "ra": "ra",
        "dec": "dec",
        "telescope": "telescope",
        "apogee_id": "sdss4_apogee_id",
        "gaia_dr3": "gaia_dr3_source_id",
    },
    signature=("sdss_id", "flag_bad", "teff", "mg_h", "raw_teff"),
)

CATALOGS = (ASPCAP,)
