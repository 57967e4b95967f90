"""A page in the browser: hear a recording with one or several models, browse a data set, and vote."""
