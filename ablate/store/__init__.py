"""What lies on disk: ids, run folders, records, locks. Standard library only.

`python -m ablate.store` lists a root of runs, says how two stages differ, and brings a root to the format of today.
"""
