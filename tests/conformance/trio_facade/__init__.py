"""trio's names on top of aionursery: what trio's own tests import in place of trio.

Each word of ours is asked of `under.library`, so that a library with a fault can be put there. What
trio alone has (a clock that is set by hand, a wait that other code ends) is made here of loops
and futures; what it makes of these itself (parking lots, channels, limiters) is its own.
"""
