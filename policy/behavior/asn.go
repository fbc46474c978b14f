package behavior

// satelliteASNs are the networks of satellite operators. Their addresses locate the
// ground station or the company, which may be a continent away from the dish, the ship or
// the aeroplane. More can be configured.
var satelliteASNs = []uint32{
	14593,                                   // SpaceX Starlink
	800,                                     // OneWeb
	7155, 16491, 40306, 40310, 40311, 46536, // Viasat
	6621, 12440, 28613, 44795, 63062, 265705, // HughesNet
	15829, 34444, 29286, 201935, 204276, // Eutelsat, Skylogic
	12684,               // SES Astra
	22351, 26243, 46982, // Intelsat
	25222, 31515, 31753, 152659, // Inmarsat
	22184, 206171, 398736, // Iridium
	44703,                                 // Thuraya
	5377, 8264, 8841, 24039, 44933, 55784, // Marlink (ships)
	4913, 9229, 32034, 38456, 47339, // Speedcast (ships)
	11167, 64294, 132011, 394603, 400110, // Gogo, Panasonic Avionics, Anuvu (aeroplanes)
}

// mobileASNs are networks that serve almost only mobile phones, and put thousands of them
// behind one address. Carriers whose mobile and fixed lines share an autonomous system
// (Deutsche Telekom, Orange, China Mobile, ...) are not listed, because ignoring the
// homes of their customers would be worse. More can be configured.
var mobileASNs = []uint32{
	6167, 22394, 20057, 21928, 398378, // US: Verizon Wireless, AT&T Mobility, T-Mobile, Boost
	36522,                              // CA: Bell Mobility
	26615,                              // BR: TIM
	12576, 25135, 35228, 60339, 206067, // GB: EE, Vodafone, O2, Three
	13280,        // IE: Three
	51207,        // FR: Free Mobile
	16232, 24608, // IT: TIM, WIND TRE
	16299,        // ES: Yoigo
	31615,        // NL: Odido
	15796, 25255, // CH: Salt; AT: Drei
	8374, 12912, 39603, // PL: Plus, T-Mobile, Play
	44034,               // SE, DK: Three
	12847, 24921, 35725, // LV: LMT; RO: Telekom Mobile
	15895, 16135, // UA: Kyivstar; TR: Turkcell
	25159, 31133, 16345, 12958, // RU: MegaFon, Beeline, T2
	25106, 29355, // BY: MTS; KZ: Kcell
	9605, 138384, 9644, // JP: docomo, Rakuten; KR: SK Telecom
	9231, 137872, 45143, // HK: China Mobile; SG: Singtel
	45609, 38266, 45271, 55836, // IN: Airtel, Vi, Jio
	24389, 45669, 58470, 59257, // BD: Grameenphone; PK: Jazz, Zong
	23693, 24203, // ID: Telkomsel, XL
	9534, 10030, 4818, // MY: Maxis, Celcom, Digi
	24378, 45430, 131445, 132061, 132618, 133481, // TH: dtac, AIS, True
	10139, 133612, // PH: Smart; AU: Vodafone
	16637, 29975, 29465, 36873, 36926, // ZA: MTN, Vodacom; NG: MTN, Airtel; KE: Airtel
}
