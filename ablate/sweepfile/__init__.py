"""The sweep file: read, checked, and made into rows of typed configs."""
