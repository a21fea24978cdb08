"""The numbers that were tuned, in one place: unit, why this value, what goes wrong on either side.

A spread is the unit of length: the largest distance of a coordinate of the points from their mean.
Numbers quoted for other values were measured, and stand on the page on interpolation under "What
was tried"; where none is quoted, the reason given is what led to the value, not a measurement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_EPS = float(np.finfo(float).eps)


@dataclass(frozen=True)
class CacheTuning:
    """How many groups of points are worked on at once."""

    #: floats in the arrays of one chunk: 8 MiB in double precision, which the second or the third
    #: cache holds. A quarter costs more calls from Python, and derivatives of 100 neural fields
    #: take 1.8 times as long; four times as much goes out to memory at each step
    chunk: int = 2**20
    #: how many stages' arrays of derivatives count as in use at a time, of the twelve that a step
    #: has. Counting all makes chunks so small that calls dominate, counting one spills the cache
    stages_in_use: int = 3
    #: neural fields of full rank with at most this many states tabulate the products of their
    #: matrices' entries (m^2 a row). Beyond, the table is larger than the work that it saves
    few_states: int = 4
    #: matrices with at most this many rows and columns are multiplied entry by entry, on whole
    #: arrays: 8 ns in place of 38 for two rows. With more than three the library is faster
    by_entries: int = 3


@dataclass(frozen=True)
class LoopDesign:
    """How a loop is drawn; the defaults are those of the displacement readout."""

    #: intervals of one way out and back. 100 is good everywhere, shorter ones within chains alone;
    #: 400 helps some draws and hurts others
    excursion: int = 100
    #: intervals on which the direction of the controls stays. 16 cost two digits of the condition
    #: number; shorter legs cost more choices among candidates
    leg: int = 4
    #: smallest and largest displacement in an interval, in spreads. Twice as much, with the bounds
    #: below wider, gives better conditioned and steeper loops; 0.7 of it carries points less far
    sizes: tuple[float, float] = (0.15, 0.6)
    #: how far from their centre the points may go, in spreads. At 10, with a stretch of 100, loops
    #: are steeper; at 2, with 6, they see too little, and carry the points 3 to 10 times less far
    reach: float = 4.0
    #: largest singular value of the flow's derivative and of its inverse at the points, where the
    #: other ones are 1 (the bound is on Frobenius norms, which are cheap). 1,000 needs more steps
    #: of the scheme and a larger lambda; 5 is close to 20
    stretch: float = 20.0
    #: legs that are drawn at once; the best admissible one is taken. 64 gain up to one digit of the
    #: condition number, at four times the price
    n_candidates: int = 16


@dataclass(frozen=True)
class LoopTuning:
    """The draw of a loop, whatever its design."""

    #: share of the candidates that use one field alone. At 0 directions of single fields are hardly
    #: ever drawn where fields are many, at 1 mixtures never are
    alone: float = 0.5
    #: smallest size of a field, as a share of the largest, in the units of the controls. Without a
    #: bound fields that nearly vanish get huge controls, far above it weak fields hardly count
    weakest: float = 1e-3
    #: added to the diagonal of the Gramian, in units of its mean entry there with what a candidate
    #: adds. At less the Cholesky factorisation of the first legs fails, as they leave the Gramian
    #: singular; more hides directions that are hard to reach, which are those to look for
    ridge: float = 1e-13


@dataclass(frozen=True)
class NewtonTuning:
    """Newton's method on all intervals at once."""

    #: weight of the points' moves on the way, in units of 1 / spread, against that of the controls.
    #: At 0.1 flows are steeper; from 1 on a loop carries points 1.3 to 40 times less far
    still: float = 0.3
    #: states held still by that weight stand at the ends of blocks of at least so many intervals.
    #: Shorter blocks cost more factorisations and hold no better, longer ones let points wander
    block: int = 10
    #: ratio of a step to the one before that counts as convergence. Larger ones accept steps that
    #: lead nowhere, smaller ones give up where a renewed derivative would have helped
    converges: float = 0.5
    #: ratio up to which the linearisation is kept for the next step. At 0.25 and 0.5 what is saved
    #: is lost again on additional steps
    keeps_line: float = 0.1
    #: condition number beyond which the smallest singular value is rounding. Larger ones let
    #: Newton's method chase noise, smaller ones refuse loops that still work
    singular: float = 1e14
    #: condition number up to which the equations may be linearised quickly: neural fields in single
    #: precision, polynomial ones by a scheme of order 5 in place of 8. Beyond, their few digits no
    #: longer give a direction in which Newton's method converges
    quick: float = 1e5
    #: how much of the derivative of the field under the controls one step of order 5 may take.
    #: Steps of 0.6 cost a fifth more, and Newton's method goes no further with them. With neural
    #: fields of scale sqrt(12) even those carry points a fifth as far, or not at all
    turn: float = 1.0
    #: condition number up to which the equations are solved by Gramians, whose condition is its
    #: square, in place of orthogonal factors, which take three times as long. Six digits of a step
    #: are left at this bound; where fewer are, Newton's method takes more steps
    squared: float = 1e5
    #: steps at most, of Newton's method and of the settling of states. Both end earlier, where they
    #: arrive or no longer shrink: the bound ends what shrinks forever, fewer cut off slow successes
    most_steps: int = 20
    #: steps at most towards a target that a nearer one can replace. Nearer targets are cheaper than
    #: slow convergence; with very few, targets are cut that would have been reached
    few_steps: int = 8
    #: share of the tolerance that Newton's method may leave at the end of a loop. The rest is for
    #: errors of the scheme; a smaller share costs steps that rounding may defeat
    share: float = 0.1
    #: ratio of a defect to the smallest one before from which it has stopped to shrink. Smaller
    #: ones send slow cases to the sweep interval by interval, larger ones take more rounds first
    stalls: float = 0.5
    #: largest defect, in units of the largest state, that counts as rounding at once. At less the
    #: states are swept through interval by interval although nothing can improve
    settled: float = 4 * _EPS
    #: the same where defects have stopped to shrink: what long intervals leave. At more, states
    #: that Newton's method failed on would be accepted
    stagnant: float = 32 * _EPS


@dataclass(frozen=True)
class ClosingTuning:
    """How well the way back of a loop meets the way out."""

    #: how often the steps of an interval that does not close are doubled. Without doublings steep
    #: loops do not close; more than eight steps an interval cost more than another loop
    doublings: int = 3
    #: largest gap of an interval, in spreads, where one loop serves alone: its targets lie close to
    #: where it begins, and gaps would be errors. Below 1e-12 rounding alone asks for doublings
    alone: float = 1e-11
    #: the same within a chain, where the next loop starts at the true end of this one. 1e-4 is
    #: level, 1e-9 takes more doublings and up to twice the time; single precision tells 1e-6 just
    #: so
    in_chain: float = 1e-5
    #: states on the way out are settled to this share of the gap that is allowed. At a third gaps
    #: would be those of the states, less costs further sweeps
    share: float = 0.1


@dataclass(frozen=True)
class ContinuationTuning:
    """One loop, followed along a path of targets (the displacement readout)."""

    #: the part of the path at which it stops: lambda is then twenty times the smallest that is
    #: tried. Smaller parts leave a large lambda, which multiplies errors; larger ones cost steps
    enough: float = 0.05
    #: targets at most. Twelve lower lambda from 1e5 to below 1e3; fewer stop on the way, and with
    #: more the loops that are no good take most of the time
    most_targets: int = 12
    #: the smallest part of the path that is tried. A loop that cannot do even this is replaced
    smallest: float = 1e-6
    #: largest miss of a target on the way, as a share of the move to it. It only has to show that
    #: the move was made: less costs steps, much more lets the next target start beside the path
    miss: float = 1e-3
    #: the same in units of the states, for moves that are long
    largest_miss: float = 1e-6
    #: factor by which a part is cut that Newton's method does not reach. A factor near 1 takes more
    #: failing attempts, a large one leaves part of the reach unused
    cut: float = 3.0
    #: how much larger the part is that is tried after a success. Without it parts never grow again,
    #: with more most first attempts fail
    grow: float = 2.0
    #: a loop is at its end where a part is this factor smaller than the largest one before it (two
    #: cuts). Waiting longer spends targets on little, giving up sooner leaves a larger lambda
    fades: float = 9.0


@dataclass(frozen=True)
class ChainTuning:
    """A chain of loops along paths (the identity readout)."""

    #: designs of loops, and which share of the intervals each has. Many fields that vary from point
    #: to point do best with short excursions and few candidates (the first design; the second in
    #: ten dimensions), five or seven fields with long legs and many candidates (the last two). With
    #: fewer designs some kinds of fields stand still, each further one costs trials
    designs: tuple[tuple[LoopDesign, float], ...] = (
        (LoopDesign(excursion=10, leg=1, n_candidates=8), 0.15),
        (LoopDesign(excursion=20, leg=2, n_candidates=8), 0.4),
        (LoopDesign(excursion=50, leg=3, n_candidates=32), 1.0),
        (LoopDesign(excursion=100, leg=5, n_candidates=32), 1.0),
    )
    #: failures in a row, for each design, that end the chain. Loops are random, so that one failure
    #: says little; more only spend time where nothing goes on
    most_failures: int = 3
    #: the smallest part of the path that a loop is to carry the points. Larger bounds give up loops
    #: that are slow but arrive; smaller ones spend hours on loops that never do
    smallest_part: float = 2e-5
    #: factor by which a part is cut that Newton's method does not reach. 1.15 and 1.25 are level:
    #: more attempts, longer parts; 2 and more leave half of the reach unused
    cut: float = 1.5
    #: how much further than the last loop's points the next one's may move on the way. With 1 parts
    #: never grow again, with 2 most first attempts fail
    grow: float = 1.4
    #: factor by which points may move less on the way after a loop that carried them nowhere. At 1
    #: the same is tried again, a large one takes many loops to recover from one bad draw
    shrink: float = 2.0
    #: how far points may move on the way in the first loop, in spreads. Beyond one spread most
    #: first attempts fail, far below it parts have to grow first
    first_reach: float = 0.7
    #: Newton's method may stop within the chain where its steps are this share of the first: what
    #: is missed moves the next start. Smaller shares cost steps, larger ones drift off the plan
    slack: float = 0.03
    #: gap of an interval, in spreads, to which finer steps would close it. They tell where the loop
    #: really ends; smaller gaps cost steps, larger ones leave the refinement more to correct
    converged: float = 1e-8
    #: relative defects from which one more correction is enough at coarse steps, which only have to
    #: begin well at the finer ones. A tenth takes a further sweep, ten times more begins badly
    nearly: float = 1e-4
    #: the same at the finer steps. A tenth takes a further sweep, ten times as much leaves what the
    #: refinement has to correct loop by loop
    enough: float = 1e-5
    #: largest singular value of a loop's flow. At 2 and 1.4 chains come half of the way; without a
    #: bound rounding is amplified beyond the tolerance
    steep: float = 3.0
    #: the same where the whole chain has stretched more than is bearable: loops below this may go
    #: on. At 1 there are none, and far above it the chain stretches without a bound
    mild: float = 1.3
    #: size of the errors that the flow of the chain amplifies: it may do so up to the tolerance.
    #: Smaller sizes allow chains that end beside their targets, larger ones stop chains that arrive
    rounding: float = 3e-12
    #: what the chain may amplify in any case, however small the tolerance. With less no chain gets
    #: through, with more it misses tolerances near rounding
    bearable: float = 50.0
    #: share, in digits, of the bearable stretch that the chain may use from the start; the rest
    #: comes in proportion to the way. At 0 parts near the start were 0.001 and the chain did
    #: not arrive; at 1 the first loops may use up what the later ones need
    at_once: float = 0.5
    #: share of the points, at most, that get a companion. With none chains fall short; half and all
    #: of them differ by less than seeds do, and each companion costs as much as a point
    guarded: float = 0.25
    #: companions appear where the flow has stretched by this share of what is bearable. At the
    #: bound itself they come too late, from the beginning they slow down what is still harmless
    guard: float = 0.2
    #: distance of a companion, in spreads. Nearer it is but a derivative, which rounding blurs;
    #: further away it is another point, whose way says nothing of the stretch
    near: float = 0.02
    #: rate at which companions come closer, in 1 / the whole path. Slower ones do not take back
    #: what loops stretch, at 10 loops carry the points less far
    relief: float = 4.0
    #: where less than this is bearable companions wait for the bound itself. Earlier ones make such
    #: chains stop at once
    little: float = 1000.0
    #: parts of the path below which a design doubles its intervals, and above which it halves them.
    #: Closer together they alternate; lower ones keep short loops where long ones are needed
    small_part: float = 0.003
    large_part: float = 0.01
    #: by what factor intervals may grow in all. Without a bound one bad place of the path makes
    #: loops that cost minutes
    most_times: int = 4
    #: cost of drawing one candidate for an interval, in steps of Newton's method for it: measured.
    #: It only matters within a factor of two, for the choice among designs
    draw_cost: float = 0.06
    #: share of the last loop in the rate of its design. At 1 a single loop decides, at 0.1 a design
    #: is kept long after the path has changed
    fresh: float = 0.5
    #: share of the average rate of its design from which on a loop is used again as it is; below
    #: it half of its excursions are renewed. 0.4 and 0.7 took 18 and 20 s on one draw of 20
    #: points, which is level; at 1 most loops would be renewed, at 0 only those that fail
    keeps: float = 0.5
    #: growth of the rate of a design that rests, for each loop that costs as much as its own. At 1
    #: nothing is tried again; from 1.1 on trials of dear designs take half of the time
    forget: float = 1.05
    #: part of the path expected of a design before it is tried: a middling one. Much less, and some
    #: are never tried; much more, and dear ones are tried first
    expected: float = 0.003


@dataclass(frozen=True)
class PathTuning:
    """Planned paths, and the choice among them."""

    #: pieces of a path. With fewer the splines cannot bend round each other, with more the descent
    #: takes longer for the same energy
    n_pieces: int = 24
    #: times in a piece at which the energy is taken. At one, points pass through each other in
    #: between
    times_a_piece: int = 4
    #: steps of L-BFGS for each start of the descent: enough to see which one is best
    few_steps: int = 50
    #: steps for the best one. Energies then end within a quarter of each other
    n_steps: int = 300
    #: added to the diagonal of the kernel matrix, whose entries there are 1. Less leaves it
    #: singular where points are close, more lets close points move as if they were apart
    ridge: float = 1e-6
    #: widths of the kernel, in units of the distance of neighbours in a cube. Narrower ones give
    #: steep fields, wider ones paths that small moves cannot follow; neither of the two always wins
    widths: tuple[float, ...] = (0.55, 0.8)
    #: sizes of the random bends that descents start from, in spreads. Straight starts alone may run
    #: points into each other, bends of 1 and more end at higher energies
    bends: tuple[float, ...] = (0.0, 0.25, 0.25, 0.5)
    #: parts of the path at which loops are tried in order to compare paths. Five say no more
    probes: tuple[float, ...] = (0.1, 0.5, 0.9)
    #: the loops that are tried there, and which share of the intervals they have. Excursions are
    #: those of the middle designs of a chain: what counts is only how the paths compare. Loops of
    #: all intervals, with twice the candidates, took 22 s where the chain takes two minutes
    probed: LoopDesign = LoopDesign(excursion=50, n_candidates=8)
    probed_share: float = 0.5


@dataclass(frozen=True)
class RefinementTuning:
    """The pass over a chain at fine steps."""

    #: relative defects from which one more correction is enough: it squares them. Less costs
    #: sweeps, more is seen in the residual
    settled: float = 1e-10
    #: share of the tolerance that errors of the scheme may take. The rest is for Newton's method
    #: and rounding; a smaller share costs steps in every interval
    share: float = 0.2
    #: rounds of ever finer steps. Each has a sixth of the error or less: what five do not settle is
    #: rounding
    rounds: int = 5
    #: how far, in spreads, points may be from where a loop was to bring them. More the loops that
    #: follow stretch beyond what can be taken back; less corrects loops that need it not
    drift: float = 1e-3
    #: the same in units of how far the loop moves them: small loops cannot correct large drifts
    of_move: float = 0.03
    #: share of the allowed drift that a correction leaves. Less costs Newton steps, more is soon
    #: used up again
    left: float = 0.1
    #: where loops begin further than this, in spreads, from where they did, their derivatives are
    #: renewed before flows are followed. Less renews all, more makes the settling take additional
    #: sweeps
    moved: float = 1e-5
    #: share of the tolerance that the last loop may miss its target by, and by which the end may
    #: still change at finer steps. Less costs rounds, and at 1 both together exceed the tolerance
    meets: float = 0.1
    #: share of the tolerance that the settling of a loop may leave at the end of the chain. The
    #: step at more nodes takes it away, and it looks like their doing: far more asks for a second
    #: round, at 0.003 the change is the same in two digits, and steps are more
    unseen: float = 0.01
    #: share of the tolerance that a correction of the last loop leaves: below `meets`, so that it
    #: still holds after the steps have changed. Less costs Newton steps
    leaves: float = 0.03
    #: factor by which the end has to change less from one round to the next. A scheme of order 8
    #: gains more than ten from 1.375 times the steps: what gains less than two meets rounding
    gains: float = 2.0
    #: smallest and largest factor by which a round has more steps than the one before. Below 1.25
    #: it would repeat what has been computed to see the change; beyond 2.5 steps are spent on
    #: estimates of the error that hold only near by
    growth: tuple[float, float] = (1.375, 2.5)
    #: machine epsilons of the states that the flow amplifies, by which no residual can be smaller.
    #: Fewer ask for what rounding forbids, many would stop above tolerances that can be met
    roundings: int = 8


@dataclass(frozen=True)
class CollocationTuning:
    """Trajectories by their slopes at Gauss nodes, where evaluations are dear: with neural fields.

    With universal fields a refinement took 8.1 s for 10,680 intervals, and flows take 4.7 s for
    10,400.
    """

    #: nodes of an interval, and how many more for each step of order 8 that would do. With 4 and
    #: 1.25 a quarter more steps changed the end by 0.06 and 0.07 of the tolerance (100 neural
    #: fields, two chains), where from 0.1 on a second round follows, as one did with 3. One node
    #: more makes errors a tenth, and costs a tenth of the time
    least: float = 5.0
    a_step: float = 1.25
    #: nodes at most. Steep intervals of loops have 30; what has more explodes, and matrices of all
    #: nodes by all would take the time and the memory
    most: int = 64
    #: terms at most of the series for the derivatives of the flow, and when it ends: at single
    #: precision. They are needed to five digits; terms shrink as those of an exponential series
    most_sums: int = 60
    summed: float = 1e-6
    #: steps at most. From straight lines four or five arrive; what does not is followed interval by
    #: interval instead
    most_steps: int = 8
    #: size of a step, in units of the states, after which derivatives are not renewed: what it
    #: leaves is rounding in single precision. A tenth takes a further step, at a hundred times more
    #: derivatives have three digits only
    near: float = 1e-4
    #: the same in double precision, at most. Derivatives have five digits or more: what a step
    #: leaves is about its square. Rounding in single precision makes steps of 2e-6
    enough: float = 5e-6


@dataclass(frozen=True)
class AttemptTuning:
    """How often `interpolate` begins anew, and with what."""

    #: one over the error of a flow. With the displacement readout lambda multiplies that error, so
    #: that lambda need not fall below tol times this. Less keeps Newton's method busy for nothing,
    #: more counts on digits that are not there
    digits: float = 1e10
    #: bound on lambda where the tolerance would bear more, in units of the largest entry of Y by
    #: the spread. More leaves lambda large without need, less lowers it further than success needs
    largest_scale: float = 1e3
    #: attempts with a number of intervals that was given, each with loops of its own. Draws differ,
    #: but where three fail it is the number that does not suffice
    repeats: int = 3
    #: multiples of the smallest sensible number of intervals that are tried in turn. Beyond eight
    #: times, what failed before fails again
    growth: tuple[int, ...] = (1, 2, 4, 8)


@dataclass(frozen=True)
class IntervalsTuning:
    """How many intervals the first attempt has, by experience (N points in m dimensions, d fields).

    Fewer let the attempt fail, and the next one has twice as many; more cost time in proportion.
    """

    #: intervals of a loop that serves alone are a multiple of this: whole excursions
    alone: int = 100
    #: such multiples that a loop alone needs, for each point and by the number of fields
    a_point: float = 0.4
    #: the same for each of the N m equations; in ten dimensions and beyond they are what counts
    an_equation: float = 0.04
    #: intervals of a loop in a chain are a multiple of this: half of the longest excursion
    in_chain: int = 50
    #: the smallest such multiple: with two the longest excursion still fits in
    least_in_chain: int = 2
    #: one multiple of `in_chain`, for each field, serves so many of the N^2 pairs of points by m,
    #: which have to be kept apart: the fewer dimensions the more they are in each other's way
    pairs: int = 3
    #: how much one of the N m equations counts against such a pair; few points have few pairs
    equation_in_pairs: float = 0.4


CACHE = CacheTuning()
LOOPS = LoopTuning()
NEWTON = NewtonTuning()
CLOSING = ClosingTuning()
CONTINUATION = ContinuationTuning()
CHAIN = ChainTuning()
PATHS = PathTuning()
REFINEMENT = RefinementTuning()
COLLOCATION = CollocationTuning()
ATTEMPTS = AttemptTuning()
INTERVALS = IntervalsTuning()
