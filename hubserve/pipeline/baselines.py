"""`hand_made`: returns the archs that a search is compared with, given in the job or scaled by hand."""

from typing import Any

from hubserve.errors import ArchError, JobError, SpaceError
from hubserve.jobs import SearchJob
from hubserve.space import Arch, ModelSpace


def hand_made(job: SearchJob, space: ModelSpace) -> dict[str, Arch]:
    """Returns the baselines of a job by name: those that it gives, and `baselines.uniform` networks scaled by hand.

    In network i of n that are scaled by hand, "uniform-i", all choices take the candidate at the same place of their lists: the
    first candidates in the first network, the last ones in the last, the middle ones if there is one network. Of these
    networks, those that the space refuses, and those with the arch of an earlier baseline, are left out.

    Raises:
        JobError: An arch of the job is not one of the space, or has the name of a scaled network.
    """
    found: dict[str, Arch] = {}
    for name, arch in job.baselines.archs.items():
        try:
            found[name] = space.canonical(arch)
        except (ArchError, SpaceError) as error:
            raise JobError(f"baselines.archs.{name}: {error}") from error
    count = job.baselines.uniform
    for i in range(count):
        arch, name = _at(space, i / (count - 1) if count > 1 else 0.5), f"uniform-{i + 1}"
        if name in job.baselines.archs:
            raise JobError(
                f"baselines.archs.{name}: baselines.uniform = {count} gives this name to a scaled network; take another"
            )
        if space.allows(arch) and arch not in found.values():
            found[name] = arch
    return found


def _at(space: ModelSpace, share: float) -> Arch:
    """Returns the arch in which each choice takes the candidate at `share`, in [0, 1], of its list."""

    def answer(choice: Any) -> Any:
        return choice.answer_at(round(share * (choice.size - 1)))

    return space.arch_from(answer)
