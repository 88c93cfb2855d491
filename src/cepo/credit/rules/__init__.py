"""Credit rules and distillations: one file each, and the registry that knows them by name."""

from cepo.credit.rules.distillations import Distillation
from cepo.credit.rules.options import read_options
from cepo.credit.rules.registry import METHODS, OURS, Method, get_method, register
from cepo.credit.rules.rule import STUDENT, Credit, Inputs, Knobs, Quantities, Rule, added, credit_from, weighed

__all__ = [
    "METHODS",
    "OURS",
    "STUDENT",
    "Credit",
    "Distillation",
    "Inputs",
    "Knobs",
    "Method",
    "Quantities",
    "Rule",
    "added",
    "credit_from",
    "get_method",
    "read_options",
    "register",
    "weighed",
]
