from harness.authoring import *
from harness.lower.flood import Flood
import time
def test_x(case, upper, family):
    for backlog in (16, 64, 256):
        l = upper.listen(backlog=backlog)
        f = Flood(case, l.port)
        t=time.time(); v=f.send(backlog*4); print(backlog, v, l.half_open)
        p = case.peer(target_port=l.port)
        p.send("S 0:0(0) win 65535 <mss 1460,sackOK,TS val 1000 ecr 0,nop,wscale 7>")
        case.pause(0.05)
        print([a.step.text for a in p._inbox]); p._inbox.clear()
    t=time.time()
    for i in range(14):
        case.pause(0.5); print(round(time.time()-t,1), l.half_open)
    print(open('/proc/net/sockstat').read())
