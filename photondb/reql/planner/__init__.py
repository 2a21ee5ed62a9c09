"""The planner: decides how the rows of a query are found.

Its parts are pure: `expressions` and `conditions` say what a filter asks of a document, `key_sets` where documents like
that stand in an index, `estimates` how many there may be, `costs` what it takes to read them, and `access` chooses.
"""
