"""Scripts and functions: the Lua interpreter, its sandbox, and the commands that run it."""
