-- What an upgrade brings up to the functions above: the pairs of currencies that have a rate.
select market.choose_conversion_paths();
