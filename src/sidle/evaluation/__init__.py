"""How results are judged: `statistics` turns paired differences into intervals and verdicts."""
