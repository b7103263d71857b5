// see modulus.hpp
