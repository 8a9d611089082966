"""Makes the golden folder beside it, of what the Python implementation answers (enrich/transformer/tests/expected.json).

    python3 tests/models/make.py
"""

import json
from collections import defaultdict
from datetime import datetime, timezone
from pathlib import Path

HERE = Path(__file__).parent
START = 1_714_982_400  # 2024-05-06T08:00:00Z


def rounded(answer):
    """As definitions see probabilities; None where the last bits decide which way one is rounded."""
    if any(abs(p * 1e4 % 1 - 0.5) < 0.03 for p in answer):
        return None
    return [round(p * 1e4) / 1e4 for p in answer]


def main():
    expected = json.loads((HERE / "../../enrich/transformer/tests/expected.json").read_text())
    single, multi = expected["single"], expected["multi"]
    records, groups = [], defaultdict(list)
    for text, mood, feelings in zip(expected["texts"], single["answers"], multi["answers"]):
        mood, feelings = rounded(mood["probabilities"]), rounded(feelings["probabilities"])
        if mood is None or feelings is None:
            continue
        for repeat in range(3):
            at = START + 7 * len(records)
            records.append(json.dumps({"at": at, "text": text}))
            label = single["labels"][max(range(len(mood)), key=mood.__getitem__)]
            groups[at // 60 * 60, label].append((mood[single["labels"].index("joy")], feelings[multi["labels"].index("fear")]))
    rows = []
    for (start, label), scores in sorted(groups.items()):
        time = lambda seconds: datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        rows.append({
            "key": {"mood": label}, "window_start": time(start), "window_end": time(start + 60), "messages": len(scores),
            "joy": sum(joy for joy, _ in scores) / len(scores), "fear": max(fear for _, fear in scores),
        })
    (HERE / "input/messages.ndjson").write_text("".join(line + "\n" for line in records))
    (HERE / "expected/moods.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
