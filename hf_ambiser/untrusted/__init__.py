"""What came from a file or from somebody else: names, links, texts, cells and fields are checked or escaped here.

Each kind has one function, which every reader or writer uses. It imports nothing of the package.
"""
