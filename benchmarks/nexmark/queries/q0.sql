-- Pass through: what reading and dropping cost.
SELECT auction, bidder, price, date_time, extra FROM bid;
