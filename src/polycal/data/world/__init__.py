"""The benchmark world: questions about territories, made from the names and facts of CLDR."""
