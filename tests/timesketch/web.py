"""Timesketch's web application, with the accounts that the tests ask for.

As a module for gunicorn it is the application itself; as a program it only makes the accounts. One
start of Python does both, which spares some seconds. For tests on loopback only: the folder that
DFAGENT_TEST_ACCOUNTS names holds a file for each account, with the password in it, so that none is
ever seen in a list of processes. The account `admin` is an administrator.
"""

import os

from timesketch.models import db_session
from timesketch.models.user import User


def make_accounts(application):
    """Makes the accounts that are not there yet."""
    folder = os.environ["DFAGENT_TEST_ACCOUNTS"]
    with application.app_context():
        for name in sorted(os.listdir(folder)):
            if User.query.filter_by(username=name).first():
                continue
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                password = file.read().rstrip("\n")
            user = User.get_or_create(username=name, name=name)
            user.set_password(plaintext=password)
            user.admin = name == "admin"
            db_session.add(user)
            db_session.commit()
        db_session.remove()


if __name__ == "__main__":
    from timesketch.app import create_app

    make_accounts(create_app())
else:
    from timesketch.wsgi import application

    make_accounts(application)
