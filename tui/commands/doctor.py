"""`doctor`: examines the fleet and says how to mend what is wrong."""

import argparse

from backend.model import Examination, Grade
from backend.service.protocol import Examine, Examined, FleetChoice
from tui.commands.session import clean, connected, plain, print_json
from tui.render.doctor_lines import GLYPHS, summary

BRIEF = "examines hosts, VMs and the ways between them; says how to mend what is wrong"
_EXIT = {Grade.OK: 0, Grade.REMARK: 0, Grade.MEND: 1, Grade.ALARM: 3}


async def doctor(options: argparse.Namespace, choice: FleetChoice) -> int:
    """0 well or remarks only, 1 something to mend, 3 a VM that runs twice, or that is lost."""
    async with connected(choice) as client:
        reply = await client.call(Examine())
    assert isinstance(reply, Examined)
    if options.json:
        print_json({**plain(reply.examination), "worst": reply.examination.worst.value})
    else:
        _print(reply.examination)
    return _EXIT[reply.examination.worst]


def _print(of: Examination) -> None:
    for one in of.findings:
        print(f"{GLYPHS[one.grade][0]} {one.check:<13}{clean(one.sentence)}")
        if one.remedy:
            print(f"  {'':<13}→ {clean(one.remedy)}")
    print(summary(of).text.strip())
