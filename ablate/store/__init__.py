"""Everything on disk: ids, run folders, records, locks. Standard library only.

`python -m ablate.store` lists a root of runs, explains how two stages differ, joins roots, and upgrades their format.
"""
