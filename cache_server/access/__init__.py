"""Who may do what: users, their rules, the log of what was refused.

    catalogue   the command table as numbers and bitmaps
    rules       one user: words such as `+get` or `~key*` in, decisions and the same words out
    checking    whether a user may run a request, and which key or channel forbids it
    users       all users of a server, and their file
    log         ACL LOG
    control     the server's part: clients and their users

Source: https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/.
"""
