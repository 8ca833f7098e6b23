"""The gates of the key storm: the rules, by what they are about, and the table of them (``gates``)."""
