"""Studies: what several runs together show (claims/), and how often the measures err (calibration/).

`python -m analyses` lists them, `python -m analyses NAME` carries one out.
"""
