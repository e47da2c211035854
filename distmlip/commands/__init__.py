"""The commands of ``distmlip``: what a person sees."""
