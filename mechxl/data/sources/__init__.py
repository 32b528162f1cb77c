"""Facts that mechxl did not make up: a table of facts and their words (CSV, CLDR), as a World and a Lexicon."""
