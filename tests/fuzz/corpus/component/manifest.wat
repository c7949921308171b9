(component (@custom "quark:manifest" "[actor]\nidle-timeout = \"1h\"\n"))
