"""One command."""
import argparse, logging, sys, time
from pathlib import Path
from benchmarks.scale.corpus_growth import grow
def main():
    p=argparse.ArgumentParser()
    p.add_argument("folder",type=Path); p.add_argument("--videos",type=int,default=46260); p.add_argument("--embedded",type=float,default=0.306)
    p.add_argument("--seed",type=int,default=1); p.add_argument("--jpeg-height",type=int,default=32); p.add_argument("--processes",type=int,default=2)
    o=p.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    t=time.time()
    grow(o.folder,videos=o.videos,embedded=o.embedded,seed=o.seed,jpeg_height=o.jpeg_height,processes=o.processes)
    print(time.time()-t)
if __name__=="__main__":
    main()
