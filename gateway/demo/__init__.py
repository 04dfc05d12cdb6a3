"""The demonstration behind `bulkhead demo`: a scripted agent at work in a real sandbox, watched and checked.

May import every other room but the command line, which starts it. It must not know terminals beyond the
console it is handed, and it touches nothing outside the temporary directory it makes.
"""
