"""The crash explorer: every directory that a power cut may leave behind is built, opened and checked.

recorder     what a script does to the disk, and what it was promised, in one list
contents     what a file can hold after a cut                                       pure
models       which directories can be there after a cut, in three file systems      pure
promises     what each policy promises at a cut                                     pure
check        a directory is opened and drained; the invariants I0 to I7
scripts      what is done to a queue
explore      a script in a model: how many states, and what was violated
"""
