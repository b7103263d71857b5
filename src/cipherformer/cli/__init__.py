"""The command line: parse, call, print. Nothing is computed here."""

from __future__ import annotations

import click

from cipherformer import __version__
from cipherformer.cli import build, client, server, show, two_party
from cipherformer.cli import convert as convert_command
from cipherformer.cli import degrees as degrees_command
from cipherformer.cli import demo as demo_command
from cipherformer.cli import emulate as emulate_command
from cipherformer.cli.output import ErrorGroup


@click.group(
    cls=ErrorGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, "--version", "-V", prog_name="cipherformer")
def main() -> None:
    """Private inference: a PyTorch model that answers on encrypted input.

    \b
    cipherformer demo                        the whole story on one page, in minutes
    cipherformer check MODEL                 what stands in the way of a model of yours
    cipherformer convert MODEL --data ...    its private form, trained back to its accuracy
    cipherformer degrees MODEL --data ...    accuracy of its polynomials against predicted cost
    cipherformer emulate MODEL --data FILE   its fixed-point form on shares: accuracy and truncations
    cipherformer two-party --model MODEL ... ask it between two parties with a dealer, on shares
    cipherformer compile MODEL -o plan ...   a plan: everything decided, nothing encrypted yet
    cipherformer keygen plan -o keys         on the client: the secret key stays in keys/
    cipherformer serve plan --listen ADDR    on the server: it never sees a secret key
    cipherformer query keys --connect ADDR --input images.npy
    """


for _command in (
    demo_command.demo,
    build.check,
    convert_command.convert,
    degrees_command.degrees,
    build.compile_,
    emulate_command.emulate,
    two_party.two_party,
    two_party.party,
    two_party.dealer,
    two_party.certs,
    client.keygen,
    server.serve,
    client.query,
    show.show,
    show.report,
):
    main.add_command(_command)
