"""The log of `run`: JSON lines for a journal, sentences for people."""

import time

from backend.model import Advice, Evacuation, Migration, Verdict
from tui.commands.evacuate import run_json
from tui.commands.run_orders import Order, advice_json, order_json, said
from tui.commands.session import clean, plain, print_json
from tui.render import evacuation_words as words
from tui.render import units


class RunLog:
    """Prints each event at once, with its time."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def say(self, event: str, sentence: str, **fields: object) -> None:
        """One event: its sentence, or its fields."""
        now = time.time()
        if self._as_json:
            print_json({"event": event, "at": round(now, 3), "sentence": sentence, **fields})
        else:
            print(clean(f"{units.clock(now)}  {sentence}"), flush=True)

    def advice(self, advice: Advice) -> None:
        """What is only told, or asked."""
        asked = {"ask": "asked", "advise": "advised"}.get(advice.level.value, "advised")
        moves = [plain(move) for move in advice.moves]
        self.say(asked, f"{asked}: {said(advice)}", **advice_json(advice), moves=moves)

    def order(self, order: Order, *, dry: bool) -> None:
        """What was decided, before it is done; of a dry run all that there is."""
        sentence = f"would be done: {order.sentence}" if dry else order.sentence
        self.say("order", sentence, **order_json(order))

    def refused(self, advice: Advice, why: str) -> None:
        """What was decided cannot be, and nothing was touched."""
        self.say("refused", f"not done: {said(advice)}: {why}", **advice_json(advice), why=why)

    def started(self, advice: Advice, migration: Migration) -> None:
        """A migration of ours began."""
        sentence = f"{migration.vm} begins to move from {migration.source} to {migration.target}"
        self.say(
            "started",
            sentence,
            rule=advice.rule,
            id=migration.id,
            vm=migration.vm,
            source=migration.source,
            target=migration.target,
        )

    def verdict(self, advice: Advice, verdict: Verdict) -> None:
        """How it ended."""
        sentence = f"{verdict.vm} {verdict.outcome.value}: {verdict.reason}"
        self.say("verdict", sentence, rule=advice.rule, **plain(verdict))

    def run_started(self, advice: Advice, run: Evacuation) -> None:
        """A host begins to be emptied."""
        sentence = f"{words.title(run)}: {words.whole(run, time.time())}"
        self.say("started", sentence, rule=advice.rule, id=run.id, host=run.host)

    def run_ended(self, advice: Advice, run: Evacuation) -> None:
        """How that ended."""
        sentence = f"{words.title(run)}: {words.ended(run)}"
        fields = {key: value for key, value in run_json(run).items() if key != "event"}
        self.say("ended", sentence, rule=advice.rule, **fields)
