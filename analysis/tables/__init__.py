"""The table of a sweep and the sheets below it, in every form they are printed in."""
