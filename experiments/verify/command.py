"""The command `elicit verify`: checks results by their digests, and by repeating parts of them."""

from experiments.options.verify import VerifyConfig
from experiments.verify.integrity import check_below
from imgopt.errors import InputError


def verify(config: VerifyConfig) -> None:
    """Runs the command.

    Args:
        config: what to check.

    Raises:
        InputError: something is damaged or missing, contradicts something else, or differs when it
            is repeated; the message has a line for each. Or there is nothing to check or to repeat.
        FloatingPointError: a repeated result is not finite.
    """
    found = check_below(config.directory, pieces=config.pieces)
    for kind, count in found.counts.items():
        if count:
            print(f"{kind:26} {count:6,}")
    for path in found.unchecked:
        print(
            f"no digests: {path} (an image set that is unfinished or has no manifest.json, or a "
            "result of an earlier version)"
        )
    for path in found.alone:
        print(
            f"kept alone: {path} (the result can be read; the files that it belongs to are not "
            "here, so its numbers were compared with nothing: run it again, or give an "
            "experiment's --pieces DIR)"
        )
    if found.problems:
        raise InputError(_listed(f"{config.directory} is not as it was written", found.problems))
    print("all as it was written" if not found.alone else "all that could be compared is whole")
    if config.rerun:
        from experiments.verify.rerun import rerun

        differing = rerun(
            config.directory,
            config.rerun,
            pieces=config.pieces,
            data_dir=config.data_dir,
            key=config.key,
        )
        if differing:
            raise InputError(_listed("repeated, and not the same", differing))


def _listed(head: str, lines: list[str]) -> str:
    return "\n".join([f"{head}:", *(f"  {line}" for line in lines)])
