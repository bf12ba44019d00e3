"""The keywords of hints, those of pg_hint_plan that are none here, and what is written for a keyword by mistake."""

from __future__ import annotations

from trellis.sql.hints import JoinMethod, ScanMethod

LEADING = "Leading"
SET = "Set"
KEYWORDS: tuple[str, ...] = (*ScanMethod, *JoinMethod, LEADING, SET)
"""Every keyword of the grammar."""

OTHER_KEYWORDS = (
    *("TidScan", "NoSeqScan", "NoTidScan", "NoIndexScan", "NoIndexOnlyScan", "NoBitmapScan", "DisableIndex"),
    *("IndexScanRegexp", "IndexOnlyScanRegexp", "BitmapScanRegexp"),
    *("NoNestLoop", "NoHashJoin", "NoMergeJoin", "Memoize", "NoMemoize", "Rows", "Parallel"),
)
"""Keywords of pg_hint_plan that are none here: what they say cannot be compared with a plan, or is not for a hint to say."""

MISTAKES = {
    "nestedloop": JoinMethod.NEST_LOOP,
    "nestedloopjoin": JoinMethod.NEST_LOOP,
    "nestloopjoin": JoinMethod.NEST_LOOP,
    "hash": JoinMethod.HASH,
    "merge": JoinMethod.MERGE,
    "sortmergejoin": JoinMethod.MERGE,
    "bitmapheapscan": ScanMethod.BITMAP,
    "bitmapindexscan": ScanMethod.BITMAP,
    "sequentialscan": ScanMethod.SEQ,
    "tablescan": ScanMethod.SEQ,
    "parallelseqscan": ScanMethod.SEQ,
    "joinorder": LEADING,
    "lead": LEADING,
}
"""What is written by mistake, in lower case: names of plan nodes, which the released SEFRQO prompts take for keywords."""
