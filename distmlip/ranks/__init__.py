"""The processes of a run: how they find each other, what they tell each other, whether all are alive."""
