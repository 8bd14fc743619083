"""The sweep file: reads it, checks it and resolves its rows to typed configs."""
