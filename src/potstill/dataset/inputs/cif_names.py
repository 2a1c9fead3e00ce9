"""Data names of a CIF that are read or say nothing about the atoms; others are named, and stated units are compared."""

from __future__ import annotations

import re

from potstill.dataset.inputs.known import unknown
from potstill.dataset.inputs.units import refuse_units

TEXT_FIELD = re.compile(r"^;.*?^;", re.MULTILINE | re.DOTALL)
QUOTED = re.compile(r"""(?<=\s)('[^'\n]*'|"[^"\n]*")(?=\s)""")
NAME = re.compile(r"(?:^|(?<=\s))_[A-Za-z][^\s]*")
VALUE = re.compile(r"^[ \t]*(_\S*unit\S*)[ \t]+['\"]?([^'\"\n]+)", re.MULTILINE | re.IGNORECASE)
PAPER = (  # categories about the paper, the measurement, the refinement and programs
    "journal|publ|audit|chemical|citation|refln|reflns|refine|diffrn|diffractometer|exptl|geom|computing|database|cod|ccdc|iucr|"
    "oxford|shelx|olex2|platon|smtbx|vrf|pd|proc|amcsd|icsd|gsas|jana|topas|prof|meas|calc|aflow|mcif|materials_project|bilbao|"
    "restr|space_group_symop_ssg|symmetry_ssg|oxdiff|cgraph|editor|software|struct|entry|dataset|csd|depnum|mof|topology|tcod|dft"
)
SITE = (
    r"label|type_symbol|(fract|cartn)_[xyz]|occupancy|[ub]_(iso|equiv|iso_or_equiv)(_geom_mean)?|adp_type|thermal_displace_type|"
    r"calc_(flag|attached_atom)|refinement_flags\w*|disorder_(assembly|group)|(site_)?symmetry_(multiplicity|order)|"
    r"site_symmetry_order|wyckoff_(symbol|label)|attached_hydrogens|description|chemical_conn_number|details|restraints|"
    r"constraints|aniso_\w+|type_symbol_\w+|id|number|site_label|phase_id"
)
SYMMETRY = (
    r"(space_group|symmetry)_(it_number|name_[\w-]+|name|space_group_name[\w-]*|crystal_system|cell_setting|int_tables_number|"
    r"laue_class|point_group\w*|centring_type|bravais_type|patterson_name[\w-]*|it_coordinate_system_code|setting|special_details|"
    r"symop_(id|operation_xyz|sg_id)|equiv_pos_(as_xyz|site_id)|multiplicity|id|transform_\w+)|space_group\w*_name_[\w-]+"
)
HARMLESS = re.compile(
    rf"_(({PAPER})(_.*)?|atom_site_({SITE})|atom_sites_solution_\w+|atom_sites_special_details|"
    r"atom_type_(symbol|description|scat\w*|oxidation_number|radius\w*|number_in_cell|analytical\w*)|"
    rf"cell_(length|angle)_\w+|cell_(volume|formula_units_z|measurement\w*|special_details|oxdiff\w*)|{SYMMETRY}|"
    r"space_group_wyckoff_\w+|(space_)?group_pearson\w*|pauling_file\w*|citation|sm_\w+|(name|formula|version))",
    re.IGNORECASE,
)


def on_names(text: str) -> list[str]:
    """Return a remark with the data names of a CIF that are neither read nor known to be harmless.

    Raises
    ------
    UnusableError
        ``units`` where a name states units other than Å.
    """
    plain = TEXT_FIELD.sub("", text)
    refuse_units({name.lower().lstrip("_"): value.strip() for name, value in VALUE.findall(plain)})
    names = NAME.findall(QUOTED.sub("''", plain))
    return unknown((name.replace(".", "_").lower() for name in names), HARMLESS)
