__version__ = "0.1.0"

__citation__ = f"""\
@software{{alseg,
  title = {{alseg: active learning for joint image classification and segmentation}},
  author = {{{{The alseg developers}}}},
  year = {{2026}},
  version = {{{__version__}}},
}}
"""
