"""Numbers that the tables, the state of a level and the kernels agree on.

Letters: T = leaf types, R = rules, N = level slots, W = words of a level's state.
"""

from __future__ import annotations

TILE = 10  # pixels of a tile; positions and speeds are whole pixels

# Classes. The avatars come last, so that "is an avatar" is one comparison.
(
    IMMOVABLE,
    PASSIVE,
    DOOR,
    RESOURCE,
    MISSILE,
    RANDOM_MISSILE,
    SPAWN_POINT,
    BOMBER,
    SPREADER,
    FLICKER,
    ORIENTED_FLICKER,
    RANDOM_NPC,
    CHASER,
    MOVING_AVATAR,
    SHOOT_AVATAR,
    ONGOING_AVATAR,
    ORIENTED_AVATAR,
    MISSILE_AVATAR,
) = range(18)
FIRST_AVATAR = MOVING_AVATAR

# Effects.
(
    KILL_SPRITE,
    KILL_BOTH,
    STEP_BACK,
    UNDO_ALL,
    TRANSFORM_TO,
    TRANSFORM_TO_ALL,
    SPAWN,
    SPAWN_IF_HAS_MORE,
    CHANGE_RESOURCE,
    COLLECT_RESOURCE,
    ADD_HEALTH_POINTS,
    SUBTRACT_HEALTH_POINTS,
    KILL_IF_HAS_LESS,
    KILL_IF_OTHER_HAS_MORE,
    KILL_IF_FROM_ABOVE,
    BOUNCE_FORWARD,
    PULL_WITH_IT,
    SHIELD_FROM,
    WRAP_AROUND,
    REVERSE_DIRECTION,
    ATTRACT_GAZE,
) = range(21)

# Terminations.
SPRITE_COUNTER, MULTI_SPRITE_COUNTER, TIMEOUT = range(3)

UNDRAWN = -1  # dx and dy of a RandomMissile before its first update

# Actions.
NIL, LEFT, RIGHT, UP, DOWN, USE = range(6)

# Columns of the table of types, int64 (T, TYPE_COLUMNS).
(
    T_CLASS,
    T_MOVES,  # moves by itself along its orientation: oriented, not static, a speed
    T_ORIENTED,
    T_DX,  # orientation at birth
    T_DY,
    T_PIXELS,  # trunc(10 speed)
    T_SPEED,  # trunc(speed): what a step of no pixels falls back to
    T_ACTIVE_PIXELS,  # as T_PIXELS, of a tile where the speed is 0: active moves and pushes
    T_COOLDOWN,
    T_SINGLETON,  # mask of the types that may not exist when one of these is born, 0 if none
    T_LIMIT,
    T_VALUE,
    T_TOTAL,
    T_PROBABILITY,  # of 2^30
    T_CHILD,  # the type it spawns or shoots, -1 if none
    T_CHILD_ORIENTED,  # whether a spawnorientation is given
    T_CHILD_DX,
    T_CHILD_DY,
    T_SPREAD,  # of 2^30
    T_CONS,
    T_DISTANCE,  # maxDistance in pixels, -1 if none
    T_HEALTH,
    T_HEALTH_MAXIMUM,
    T_HEALTH_LIMIT,
    T_ROTATE,
    T_AMMO,  # its place among the resources, -1 if none
    T_RESOURCE,  # place among the resources that are counted, -1 if none
    T_FIXED,  # 1: never moves, is never born: kept as a bit of its cell
    T_TARGETS,  # chaser: offset of its targets in the lists
    T_TARGETS_END,
    T_TOUCHES,  # 1: some rule pairs it with a fixed type
    T_ACTIONS,  # number of actions it takes
    T_BORN,  # 1: sprites of it can be born after the start
    TYPE_COLUMNS,
) = range(34)

CERTAIN = 1 << 30  # probability 1

# Columns of the table of rules, int64 (R, RULE_COLUMNS).
(
    R_EFFECT,
    R_FIRST,  # lists[R_FIRST:R_FIRST_END]: leaf types of the first sprite
    R_FIRST_END,
    R_SECOND,
    R_SECOND_END,
    R_SCORE,
    R_REPEAT,
    R_TYPE,  # stype: the type that is born
    R_LIST,  # lists[R_LIST:R_LIST_END]: stype, where several types may be meant
    R_LIST_END,
    R_RESOURCE,  # place among the resources
    R_RESOURCE_LIMIT,
    R_LIMIT,
    R_VALUE,
    R_PROBABILITY,
    R_KILL_SECOND,
    R_FORCE_ORIENTATION,
    R_PIXEL_PERFECT,
    R_ALIGN,
    R_SUBTRACT,
    R_SPEND,
    R_KILL_RESOURCE,
    R_OFFSET,  # wrapAround: pixels from the upper or left border
    R_OFFSET_FAR,  # ... from the lower or right border
    R_SCORE_IF_KILLED,
    R_EXCEPT,  # undoAll: mask of the types left alone
    R_BIT,  # pullWithIt: its bit in the memory of whom it pulled
    R_SHIELD,  # shieldFrom: lists[R_SHIELD + type] is the offset of what it blocks, 0 if nothing
    R_BLOCKABLE,  # 1: some shieldFrom may block it
    RULE_COLUMNS,
) = range(30)

# Columns of the table of terminations, int64 (X, TERMINATION_COLUMNS).
X_KIND, X_LIST, X_LIST_END, X_LIMIT, X_MINIMUM, X_WIN, TERMINATION_COLUMNS = range(7)

# A level's state, int32 (W,): a header; the number of sprites of each type; what the planes of
# resources and health show; then the records, FIELDS integers each, which is one line of cache;
# then the records' amounts of resources. Each type has its own stretch of records, in order of
# birth.
(
    H_TICK,  # of the last tick played, -1 before the first
    H_SCORE,
    H_OVER,
    H_WINNER,
    H_AVATAR,  # record of the avatar that the player controls, -1 if none
    H_AVATAR_TYPE,
    H_WIDTH,  # pixels
    H_HEIGHT,
    H_LEVEL,  # its index in the bank, -1 if it comes from elsewhere
    H_EPISODE,  # episodes begun in this slot
    H_FULL,  # 1 + the type that ran out of room for its records, 0 if none
    H_BIRTHS,  # 1: something was born in this tick
    HEADER,
) = range(13)

NO_WINNER, PLAYER_WINS, PLAYER_LOSES = range(3)

# Fields of a record.
(
    F_X,  # pixels, upper left corner
    F_Y,
    F_LAST_X,  # at the beginning of this tick
    F_LAST_Y,
    F_CLOCK,  # ticks since the last move
    F_DX,  # orientation
    F_DY,
    F_FLAGS,
    F_HEALTH,
    F_HEALTH_MAXIMUM,
    F_AGE,  # updates of a Flicker, births of a SpawnPoint, ticks of a direction of a RandomNPC
    F_START,  # tick of a SpawnPoint's first update, -1 before; a RandomNPC's direction
    F_PULLED,  # bits of the pullWithIt rules that pulled it in the tick F_PULL_TICK
    F_CELL,  # where the observation shows it, -1 if nowhere
    F_PULL_TICK,
    FIELDS,
) = range(16)

# F_FLAGS.
DEAD, DISABLED, FRESH = 1, 2, 4  # removed at the end of the tick; a killed avatar; never updated

# A game's image, int64: all tables in one array. Numbers in the tables that point into lists of
# types are places in the image.
(
    D_TYPES,  # T
    D_RULES,  # where the table of rules begins
    D_EDGE_RULES,  # how many of them concern the edge; they come first
    D_ALL_RULES,
    D_GATES,  # where the gates of the rules begin, see below
    D_ENDINGS,  # where the terminations begin
    D_ENDINGS_END,
    D_UPDATED,  # list of the types that update, in their order
    D_UPDATED_END,
    D_RECORDED,  # list of the types kept as records
    D_RECORDED_END,
    D_TOUCHING,  # list of those that rules pair with fixed types
    D_TOUCHING_END,
    D_BROODS,  # (T, T): births of the first type that a sprite of the second can cause in a tick
    D_PLACED_FIXED,  # (256,): mask of the fixed types that a character places
    D_PLACED,  # (257,): where the list of its other types begins
    D_CAPACITY,  # records, K
    D_SHOWN,  # where the amounts on display lie in a state
    D_RECORDS,  # where the records lie
    D_RESOURCES,  # resources that are counted
    D_AMOUNTS,  # where the amounts of resources lie
    D_HEALTH,  # 1: there is a plane for health
    D_HEIGHT,  # cells
    D_WIDTH,
    D_BLOCKED,  # where these lie in the working memory, see below
    D_FOUND,
    D_DOOMED,
    D_DYING,
    D_COVER,
    D_COVERED,
    D_MEETING_SECOND,  # mask of the types kept as records that others kept so may meet
    DIMENSIONS,
) = range(32)
SEGMENTS = 32  # (T, 2): the first record of a type, and how many it has room for
MOST_TYPES = 63
TYPES = SEGMENTS + 2 * MOST_TYPES  # (T, TYPE_COLUMNS)
BASE, ROOM = range(2)
# Gates, (R, 4): masks of the types of the first and second sprites, kept as records and fixed.
G_FIRST_RECORDS, G_SECOND_RECORDS, G_FIRST_FIXED, G_SECOND_FIXED, GATE_COLUMNS = range(5)

# The working memory of one thread, int64, clean between two ticks.
M_PRESENT = 0  # mask of the types of which there are sprites
M_DEAD = 1  # mask of the types of which records were killed
M_DOOMED = 2  # how many fixed sprites were killed
M_SHIELDED = 3  # 1: some rule is blocked
M_COVERED = 4  # 1: it is noted which records cover which cells
M_OUTSIDE = 5  # mask of the types with records not wholly inside, if it is noted
NEAR = 6  # (T,): fixed types that some sprite of the type may touch
LISTED = NEAR + MOST_TYPES  # (T,): sprites of the type when the rule at hand began
TOUCH = LISTED + MOST_TYPES  # (K,): fixed types that the record touches
# Then, at D_BLOCKED (R,): 1 where a shield blocks the rule for the rest of the tick; at D_FOUND
# (K + 4 T,): second sprites that the first at hand overlaps, as index T + type; at D_DOOMED
# (H W T,): the fixed sprites killed in this tick, as cell T + type; at D_DYING (H W,): masks of
# their types; at D_COVER (H W, 2): masks of the types of which one record, and more than one, may
# cover the cell; at D_COVERED (K,): the first row and column that a record covers and the last
# ones, a byte each.
NOWHERE = 255 << 24
