-- Bids of each user in every 10 seconds. The public query takes the time of the machine, whose results no two runs share;
-- this one takes the time of the bids.
SELECT bidder, COUNT(*) AS bid_count, window_start AS starttime, window_end AS endtime
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(date_time), INTERVAL '10' SECOND))
GROUP BY bidder, window_start, window_end;
