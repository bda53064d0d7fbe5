"""The command line: one thin function a verb, importing what it needs when called."""
