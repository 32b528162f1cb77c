"""Questions asked of a run: each file has compute(run, thorough) -> Finding and figures(finding) -> panels."""
