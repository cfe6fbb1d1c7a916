"""Does the suite notice? Changes of one place in the code that tests run, drawn by chance, and which test catches each.

`python tests/mutation --seed 13`, see __main__.py.
"""
