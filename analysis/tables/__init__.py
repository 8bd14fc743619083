"""The table of a sweep and the sheets below it, in all their printed forms."""
