"""The categories of the gallery, in the order of reading."""

CATEGORIES = [
    "basics",
    "mechanics",
    "events",
    "stiff",
    "pdes",
    "control",
    "electronics",
    "ecology",
    "epidemiology",
    "chemistry",
    "pharmacology",
    "neuroscience",
    "finance",
    "discrete",
    "learning",
    "fitting",
    "scale",
]
