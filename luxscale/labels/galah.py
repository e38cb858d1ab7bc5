"""Main catalogues of GALAH, of data releases 3 and 4.

The survey advises flag_sp = 0 and flag_X_fe = 0, and in DR3 also flag_fe_h = 0; in DR4 flag_fe_h is
in error, and not to be used. It also advises a S/N above 30 in the red camera, which is not asked
for unless told (``min_snr=30``).
"""

from __future__ import annotations

from luxscale.labels.base import ANY, Catalog, Label

#: Labels taken unless told otherwise.
USUAL = (
    "teff",
    "logg",
    "fe_h",
    *(f"{x}_fe" for x in ("li", "na", "o", "mg", "y", "ce", "ba", "eu")),
)

_DR3 = (
    "li c o na mg al si k ca sc ti ti2 v cr cr2 mn co ni cu zn rb sr y zr mo ru ba la ce nd sm eu "
    "alpha"
)
_DR4 = "li c n o na mg al si k ca sc ti v cr mn co ni cu zn rb sr y zr mo ru ba la ce nd sm eu"

_FLAG_X = {
    "galah-dr3": {"UPPER_LIMIT": 0, "NO_MEASUREMENT": 5},
    "galah-dr4": {
        "UPPER_LIMIT": 0,
        "NOT_DETECTABLE": 1,
        "NOT_CONVERGED": 2,
        "ABOVE_LIMIT": 3,
        "BELOW_LIMIT": 4,
        "CNO_ISSUE": 5,
        "LI_CA_BA_ISSUE": 6,
    },
}


def _describe_labels(elements: str, *broadening: str) -> dict[str, Label]:
    labels = {
        "teff": Label(column="teff", units="K", err="e_teff"),
        "logg": Label(column="logg", units="dex(cm s-2)", err="e_logg"),
        "fe_h": Label(column="fe_h", units="dex", err="e_fe_h"),
    }
    for name in broadening:
        labels[name] = Label(column=name, units="km s-1", err=f"e_{name}")
    for x in elements.split():
        labels[f"{x}_fe"] = Label(
            column=f"{x}_fe", units="dex", err=f"e_{x}_fe", flag=f"flag_{x}_fe"
        )
    return labels


DR3 = Catalog(
    name="galah-dr3",
    doc="GALAH DR3 main catalogue (allstar or allspec): parameters, [X/Fe]",
    key="sobject_id",
    snr="snr_c3_iraf",
    labels={**_describe_labels(_DR3, "vbroad"), "vmic": Label(column="vmic", units="km s-1")},
    usual=USUAL,
    row_bad={"flag_sp": (ANY,), "flag_fe_h": (ANY,)},
    value_bits=_FLAG_X["galah-dr3"],
    value_bad=(ANY,),
    extra={"ra": "ra_dr2", "dec": "dec_dr2", "gaia_dr3": "dr3_source_id", "tmass_id": "star_id"},
    signature=("sobject_id", "flag_sp", "teff", "snr_c3_iraf"),
)

DR4 = Catalog(
    name="galah-dr4",
    doc="GALAH DR4 main catalogue (allstar or allspec): parameters, [X/Fe]",
    key="sobject_id",
    snr="snr_px_ccd3",
    labels=_describe_labels(_DR4, "vmic", "vsini"),
    usual=USUAL,
    row_bad={"flag_sp": (ANY,)},
    value_bits=_FLAG_X["galah-dr4"],
    value_bad=(ANY,),
    extra={"ra": "ra", "dec": "dec", "gaia_dr3": "gaiadr3_source_id", "tmass_id": "tmass_id"},
    signature=("sobject_id", "flag_sp", "teff", "snr_px_ccd3"),
)

CATALOGS = (DR3, DR4)
