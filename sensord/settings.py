"""Every setting, in frozen groups; the only reader of the environment. `cli` builds it and hands each room its group."""
