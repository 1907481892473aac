"""What the study `connectivity` claims, with the margins; `connectivity_effects` measures.

The margins were fixed before any run: the paper's limits of stability and of matching, 0 where
seeds are paired and the paper claims a direction, and half of a perfect rank correlation where it
claims an order.

References: [LMC] Frankle, Dziugaite, Roy, Carbin 2020, arXiv:1912.05671.
"""

from __future__ import annotations

from functools import partial

from sidle.studies import connectivity_effects as effects
from sidle.studies.study import Claim

CLAIMS = (
    Claim(
        id="hard-unstable-at-start",
        sentence="On harder tasks a network is unstable to the noise of SGD at initialisation.",
        source="[LMC] section 3 and figure 2",
        effect="instability at k = 0, free of the bias of a maximum",
        unit="share",
        margin=effects.STABLE,
        differences=effects.unstable_at_start,
    ),
    Claim(
        id="hard-stable-early",
        sentence="It becomes stable long before the end of training.",
        source="[LMC] section 3 and figure 3",
        effect="2 % minus instability at a tenth of training",
        unit="share",
        margin=0.0,
        differences=effects.stable_early,
    ),
    Claim(
        id="instability-falls",
        sentence="The later the copies are made, the lower the instability.",
        source="[LMC] figure 3",
        effect="rank correlation of k and instability, with the sign turned",
        unit="Spearman's rho",
        margin=0.5,
        differences=effects.falls_with_k,
    ),
    Claim(
        id="lenet-stable-from-start",
        sentence="LeNet is stable from step 0.",
        source="[LMC] section 3 and figure 2",
        effect="2 % minus instability at k = 0",
        unit="share",
        margin=0.0,
        differences=effects.stable_at_start,
    ),
    Claim(
        id="loss-agrees-with-error",
        sentence="Loss tells the same story as error: their barriers rank the steps k alike.",
        source="[LMC] appendix (loss in place of error)",
        effect="rank correlation of error and loss barrier over k",
        unit="Spearman's rho",
        margin=0.5,
        differences=effects.loss_agrees,
    ),
    Claim(
        id="statistics-raise-barriers",
        sentence="A part of the barrier at k = 0 is due to BatchNorm statistics: estimating them "
        "anew on the line lowers it.",
        source="ours",
        effect="instability at k = 0 minus that with statistics estimated anew",
        unit="share",
        margin=0.0,
        differences=effects.lowered_by_re_estimation,
    ),
    Claim(
        id="lenet-tickets-stable",
        sentence="Winning tickets of LeNet are stable from step 0.",
        source="[LMC] section 4 and figure 5",
        effect="2 % minus the mean instability of tickets rewound to k = 0",
        unit="share",
        margin=0.0,
        differences=partial(effects.tickets_stable, group="easy"),
    ),
    Claim(
        id="lenet-tickets-beat-random",
        sentence="They reach lower error than random pruning at the same sparsity ...",
        source="[LMC] section 4 and figure 5",
        effect="error of random pruning minus of tickets, k = 0",
        unit="share",
        margin=0.0,
        differences=partial(
            effects.control_minus_ticket, control="random", what="error", group="easy"
        ),
    ),
    Claim(
        id="lenet-tickets-beat-reinitialised",
        sentence="... and than their own mask over new initial weights.",
        source="[LMC] section 4 and figure 5",
        effect="error with new initial weights minus of tickets, k = 0",
        unit="share",
        margin=0.0,
        differences=partial(
            effects.control_minus_ticket, control="reinitialised", what="error", group="easy"
        ),
    ),
    Claim(
        id="tickets-stable-when-rewound-late",
        sentence="On the harder task, winning tickets rewound to a step early in training are "
        "stable.",
        source="[LMC] section 4 and figure 5",
        effect="2 % minus the mean instability of tickets at the last k",
        unit="share",
        margin=0.0,
        differences=partial(effects.tickets_stable, group="hard"),
    ),
    Claim(
        id="tickets-more-stable-than-random",
        sentence="They are more stable than random pruning at the same sparsity ...",
        source="[LMC] section 4 and figure 5",
        effect="instability of random pruning minus of tickets, last k",
        unit="share",
        margin=0.0,
        differences=partial(effects.control_minus_ticket, control="random", what="instability"),
    ),
    Claim(
        id="tickets-more-stable-than-reinitialised",
        sentence="... and than their own mask over new initial weights.",
        source="[LMC] section 4 and figure 5",
        effect="instability with new initial weights minus of tickets, last k",
        unit="share",
        margin=0.0,
        differences=partial(
            effects.control_minus_ticket, control="reinitialised", what="instability"
        ),
    ),
    Claim(
        id="tickets-beat-random",
        sentence="They reach lower error than random pruning at the same sparsity ...",
        source="[LMC] section 4 and figure 6",
        effect="error of random pruning minus of tickets, last k",
        unit="share",
        margin=0.0,
        differences=partial(effects.control_minus_ticket, control="random", what="error"),
    ),
    Claim(
        id="tickets-beat-reinitialised",
        sentence="... and than their own mask over new initial weights.",
        source="[LMC] section 4 and figure 6",
        effect="error with new initial weights minus of tickets, last k",
        unit="share",
        margin=0.0,
        differences=partial(effects.control_minus_ticket, control="reinitialised", what="error"),
    ),
    Claim(
        id="matching-are-stable",
        sentence="Sparse subnetworks that match the full network are stable.",
        source="[LMC] section 4",
        effect="2 % minus the mean instability of tickets within 0.2 points of the full network",
        unit="share",
        margin=0.0,
        differences=effects.matching_stable,
    ),
    Claim(
        id="unstable-do-not-match",
        sentence="Unstable sparse subnetworks do not match it.",
        source="[LMC] section 4",
        effect="mean error of unstable tickets minus of the full network",
        unit="share",
        margin=effects.MATCHING,
        differences=effects.unstable_gap,
    ),
    Claim(
        id="sparsest-stable",
        sentence="At the most extreme sparsity, tickets rewound late are stable ...",
        source="[LMC] section 4 (extreme sparsities)",
        effect="2 % minus the instability of the sparsest tickets, last k",
        unit="share",
        margin=0.0,
        differences=partial(effects.tickets_stable, group="hard", sparsest=True),
    ),
    Claim(
        id="sparsest-fall-short",
        sentence="... and yet do not match the full network.",
        source="[LMC] section 4 (extreme sparsities)",
        effect="error of the sparsest tickets minus of the full network, last k",
        unit="share",
        margin=effects.MATCHING,
        differences=effects.sparsest_gap,
    ),
    Claim(
        id="later-rewinding-stabilises",
        sentence="Rewinding to a later step makes tickets more stable ...",
        source="[LMC] section 4 and figure 5",
        effect="instability at k = 0 minus at the last k, mean over sparsity",
        unit="share",
        margin=0.0,
        differences=partial(effects.later_rewinding, what="instability"),
    ),
    Claim(
        id="later-rewinding-helps",
        sentence="... and lowers their error.",
        source="[LMC] section 4 and figure 6",
        effect="error at k = 0 minus at the last k, mean over sparsity",
        unit="share",
        margin=0.0,
        differences=partial(effects.later_rewinding, what="error"),
    ),
    Claim(
        id="link-over-k",
        sentence="At one sparsity, the more stable of two tickets is the more accurate one ...",
        source="[LMC] section 4",
        effect="rank correlation of instability and gap over k, mean over sparsity",
        unit="Spearman's rho",
        margin=0.0,
        differences=partial(effects.link, fixed="round"),
    ),
    Claim(
        id="link-at-fixed-k",
        sentence="... and not only because both improve with training: at one k, over sparsity, "
        "stability goes with accuracy too.",
        source="an objection of readers to [LMC]; the measure is ours",
        effect="rank correlation of instability and gap over sparsity, mean over k",
        unit="Spearman's rho",
        margin=0.0,
        differences=partial(effects.link, fixed="share"),
    ),
)
