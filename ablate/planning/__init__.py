"""From a sweep file to stages: rows laid out, equal stages made once, what they will cost."""
