"""What pytest leaves out here: the configuration of the pages, and what a build of them makes."""

collect_ignore_glob = ["conf.py", "_build/*", "auto_examples/*", "generated/*"]
