id
cat /etc/shadow
