"""Why a job waits, as Slurm's reason codes: which of them never resolve by themselves, and what to do then."""

from __future__ import annotations

HOPELESS = {  # the beginning of a reason -> what to do
    "BadConstraints": "no node has what is asked for; lower resources, or change resources.constraint",
    "PartitionTimeLimit": "resources.timeout_min is over the partition's limit; lower it, or name another partition",
    "PartitionNodeLimit": "resources.nodes is over the partition's limit; lower it, or name another partition",
    "PartitionConfig": "no node of the partition has what is asked for; lower resources, or name another partition",
    "AssocMaxWall": "resources.timeout_min is over your account's limit; lower it",
    "QOSMaxWall": "resources.timeout_min is over the QOS's limit; lower it, or name another QOS",
    "QOSMin": "one job asks for less than the QOS wants; raise resources, or name another QOS",
    "MaxMemPerLimit": "resources.mem_gb is over the partition's limit; lower it, or ask for more cpus",
    "QOSTimeLimit": "the QOS has used up its time; name another QOS",
    "InvalidAccount": "Slurm does not know resources.account; sacctmgr show associations user=$USER lists yours",
    "InvalidQOS": "Slurm does not know resources.qos; sacctmgr show qos lists them",
    "AccountNotAllowed": "your account may not use this partition; name another of either",
    "QOSNotAllowed": "your QOS may not use this partition; name another of either",
    "ReservationDeleted": "the reservation is gone; take it off resources",
    "JobHoldMaxRequeue": "Slurm put it back too often; its log says why",
    "DependencyNeverSatisfied": "what it waits for failed; run the same command again",
}
PER_JOB = ("PerJob", "PerJobLimit")  # endings of reasons that mean that one job asks for too much
BEHIND = ("Dependency", "(null)", "None")  # it waits for another job


def hopeless(reason: str) -> str:
    """What to do about a reason that never resolves by itself; '' for others."""
    for beginning, advice in HOPELESS.items():
        if reason.startswith(beginning):
            return advice
    return "one job asks for more than you may have; lower resources" if reason.endswith(PER_JOB) else ""
